"""Data: files become cutouts, cutouts become batches.

Reading (``cutout``, ``fits``, ``header``, ``images``), fitting to a contract (``cutout``, ``framing``), the dataset of
single files (``dataset``), the cache and the batches of training (``cache``, ``module``), normalising, augmentation,
8-bit colour (``composite``), and the division into training, validation and test (``prepare``, ``split``).
"""
