"""Images of any size: maps in tiles that equal those of the whole, and a finder slid over a field.

``tiling`` runs a network in tiles (``spans`` says where they lie, ``receptive`` how far it sees). ``windows`` of a
field are judged on a grid (``heat_map``) and on its ``sources``; ``maps`` writes what came of it.
"""

from mlensing.inference.fields.tiling import predict_full, predict_tiled, write_tiled

__all__ = ["predict_full", "predict_tiled", "write_tiled"]
