"""Models from elsewhere, turned into bundles: read safely, recognised, described, proven.

A file goes through these hands, each of which refuses it with what, where and what to do:

========================  ================================================================================
``opcodes``               a pickle read as data: its opcodes are interpreted, nothing of it is ever called
``checkpoint``            .pt, .pth, .pth.tar and .safetensors → named arrays
``layouts``               the spellings of torchvision, torchxrayvision, CheXNet and MONAI → ours
``labels``                well-known label lists with their codes
``description``           what no file says by itself: name, classes, input, limits
``monai``                 a MONAI bundle directory → checkpoint and description
``graph``                 ONNX files: read and found safe
``surgery``               ONNX graphs: logits found, last feature map found, our names
``assemble``              all of it → a bundle on disk, verified
``proof``                 the original library's scores against the bundle's, label by label
``backbone``              weights of elsewhere as a start of transfer learning
========================  ================================================================================
"""
