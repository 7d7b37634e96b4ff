"""A gateway as a site: a device of the gateway above it, whose plans it hands on and whose sums it sends."""
