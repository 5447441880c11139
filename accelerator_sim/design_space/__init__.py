"""Design space: many machines at once. Axes of parameters, evaluation in blocks, Pareto fronts, sensitivity, sizing to an area."""
