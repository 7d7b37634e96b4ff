"""What a federation is compared with, and itself: one arm for each method; rules of merging are pure functions."""
