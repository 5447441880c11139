"""What a cascade costs on a machine: action counts, latency, utilization, energy and area."""
