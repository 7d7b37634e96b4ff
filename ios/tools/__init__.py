"""What writes Swift's messages from the schema, gets a Swift toolchain, and runs the Swift tests."""
