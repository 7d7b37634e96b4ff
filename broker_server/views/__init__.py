"""What people and programs see of a gateway, as frozen values."""
