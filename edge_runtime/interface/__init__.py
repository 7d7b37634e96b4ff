"""What people build on: a model that predicts, learns and joins a federation. The commands are its first users."""
