"""What a simulated sky takes from the real one.

``galaxies`` (by way of ``stamp_catalogue``) are lensed in place of drawn sources; ``psfs`` (``psf_files``) blur in
place of Moffat profiles; ``hosts`` are cutouts that ``painting`` puts arcs on, by way of a ``canvas``.
``sky`` bundles the three.
"""
