"""From light to the picture that a survey publishes.

``instrument`` exposes (PSF, sky, noise, saturation), ``artefacts`` scar, ``composite`` stretches to colour, ``jpeg``
compresses.
"""
