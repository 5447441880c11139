"""Published operators and model shapes, each with its source: what the suite is run on."""
