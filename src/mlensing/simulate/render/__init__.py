"""From components to pixels before any camera: light and lensed arcs, the lens equation, maps of the mass.

``light`` draws what is not lensed, ``arcs`` traces rays to Sersic sources, ``stamps`` to real galaxies. Beneath them
``profiles`` (surface brightness), ``rays`` (deflection), ``quadrature`` (means over pixels), ``interpolation``.
``images`` solves the lens equation, ``maps`` gives kappa, psi and alpha.
"""
