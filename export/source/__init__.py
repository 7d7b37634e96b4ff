"""The folder of a pretrained model as it is read and checked: family, configuration, weights, tokenizer."""
