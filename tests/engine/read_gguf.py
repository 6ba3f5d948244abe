"""What PyPI's gguf finds in a file: its architecture, and of each tensor the shape and a digest of the numbers, dequantised."""
import hashlib
import json
import sys

import gguf
import numpy

reader = gguf.GGUFReader(sys.argv[1])
tensors = {}
for tensor in reader.tensors:
    digest = None
    if tensor.tensor_type != gguf.GGMLQuantizationType.I8:  # panels
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
        digest = hashlib.sha256(numpy.ascontiguousarray(numbers).tobytes()).hexdigest()
    tensors[tensor.name] = {"shape": [int(n) for n in tensor.shape[::-1]], "digest": digest}
architecture = reader.fields["general.architecture"].contents()
print(json.dumps({"architecture": architecture, "tensors": tensors}))
