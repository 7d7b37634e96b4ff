"""From a pretrained backbone and a device profile to a device package (runs on a workstation)."""
