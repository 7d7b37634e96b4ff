"""Training on this device: steps, tiers, what is carried between them, budgets, local runs."""
