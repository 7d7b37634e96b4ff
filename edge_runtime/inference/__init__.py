"""What a bank predicts: labels, class sums of frozen features, continuations of a text."""
