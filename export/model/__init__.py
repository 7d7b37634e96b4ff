"""A stock model with experts on it: frozen parts, attention, experts, the step as a function."""
