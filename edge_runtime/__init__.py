"""The device: trains its experts on its own data and talks to a gateway; `wire` is the contract of all parts."""
