"""Why the network says so: heat maps by several methods, the regions they mark, and whether they can be believed.

========================  ==============================================================================
``activation.py``         class activation maps in closed form, and what every map is: (h, w) in [0, 1]
``gradients.py``          Grad-CAM, Grad-CAM++ and HiResCAM from a feature map and its gradients
``occlusion.py``          what covering a part of the image does to a score
``integrated.py``         integrated gradients, which add up to the score
``methods.py``            the method a bundle names, ready to be called
``placing.py``            a map over the source image
``regions.py``            outlines of what a map marks
``localisation.py``       maps against true masks
``deletion.py``           maps against the network's own score
``randomisation.py``      maps against a network that has forgotten what it learned
``similarity.py``         how alike two maps are
``cases.py``              images to check maps on
``faithfulness.py``       all of that, measured for a bundle
``verdict.py``            whether its maps may be shown
``statement.py``          what the bundle and its card say about them
========================  ==============================================================================

No module here imports torch when it is imported.
"""
