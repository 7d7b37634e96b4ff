"""The contract: messages, topics, ids, digests, codecs, banks and the package manifest.

Everything that crosses a process is defined here and nowhere else; SPEC.md is the text of it. Imports the standard
library, numpy, protobuf and safetensors only, so that every part and every machine can read it.
"""
