"""Models from elsewhere, turned into bundles: read safely, recognised, described, proven.

A file goes through these hands, each of which refuses it with what, where and what to do:

========================  ================================================================================
``opcodes``               a pickle read as data: its opcodes are interpreted, nothing of it is ever called
``checkpoint``            .pt, .pth, .pth.tar and .safetensors → named arrays
``layouts``               the spellings of torchvision, torchxrayvision, CheXNet and MONAI → ours
``labels``                well-known label lists with their codes
``description``           what no file says by itself: name, classes, input, limits
``monai``                 a MONAI bundle directory → checkpoint and description
``graph``                 ONNX files: safe, logits found, last feature map found
``assemble``              all of it → a bundle on disk, verified
``backbone``              weights of elsewhere as a start of transfer learning
========================  ================================================================================
"""
