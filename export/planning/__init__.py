"""What was asked for and what fits a device: configuration, profiles, tiers, memory plans, predicted costs."""
