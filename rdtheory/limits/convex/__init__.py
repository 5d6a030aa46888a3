"""The convex programs behind `channel`, `side_information`, `perception` and `bottleneck`, and the solver of all."""
