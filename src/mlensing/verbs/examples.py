"""Examples of every verb, as its help shows them; tests parse them all."""

from __future__ import annotations

EXAMPLES: dict[str, list[str]] = {
    "simulate": [
        "--config configs/paper_synthetic.yaml --num_samples 1000 --output_dir data/simulated",
        "--config configs/release_sky.yaml --hosts my_galaxies/ --survey des --num_samples 1000",
    ],
    "simulate_clusters": ["--num_fields 100 --survey lsst --size 512 --output_dir data/clusters"],
    "prepare": ["--fits_dir my_images/ --output_dir data/processed --train_split 0.8"],
    "pretrain": [
        "--config configs/pretrain.yaml --data my_images/ more/index.csv --survey des",
        "--config configs/pretrain.yaml --data my_images/ --mixture configs/release_sky.yaml --labelled data/processed",
    ],
    "train": [
        "--config configs/baseline.yaml --data_dir data/processed",
        "--data_dir data/processed --resume lightning_logs/version_0/checkpoints/last.ckpt",
        "--data_dir data/processed --loss '{nnpu: 1.0}' --prior 0.001 --monitor val_auroc",
    ],
    "train_live": [
        "--mixture configs/release_sky.yaml --draws 40000",
        "--mixture configs/release_sky.yaml --draws 40000 --loss '{bce: 1.0, kappa: 1.0, psi: 0.1, poisson: 0.3}'",
        "--mixture configs/release_sky.yaml --init best.ckpt --labelled data/processed/ --draws 16384 --lr 3e-4",
    ],
    "train_semi": [
        "--data_dir data/processed --max_epochs 30 --lr 2e-3",
        "--data_dir data/processed --unlabelled my_survey_cutouts/ --prevalence 0.001 --epoch_steps 500",
    ],
    "train_maps": [
        "--mixture configs/maps_sky.yaml --draws 40000",
        "--mixture configs/maps_sky.yaml --draws 40000 --model unet --log_dir lightning_logs/unet",
    ],
    "add_maps": [
        "--checkpoint best.ckpt --mixture configs/release_sky.yaml --draws 32768",
    ],
    "sweep": [
        "--config configs/baseline.yaml --data_dir data/processed --trials 12 --max_epochs 9 --output_dir sweeps/a",
        "--data_dir data/processed --ranges '{lr: [1e-4, 1e-2]}' --points 0 --output_dir sweeps/b",
    ],
    "evaluate": ["--checkpoint lightning_logs/version_0/checkpoints/best.ckpt --data_dir data/processed/test/"],
    "eval_paper": [
        "--generate_figures",
        "--data_dir data/processed/test/ --checkpoints a/best.ckpt b/best.ckpt --output_dir results/mine",
    ],
    "ensemble": [
        "a/best.ckpt b/best.ckpt --data_dir data/processed/val/ --output_dir my_ensemble",
        "a/best.ckpt b/best.ckpt --mixture configs/release_sky.yaml --output_dir my_ensemble",
    ],
    "predict": [
        "my_images/ --output scores.csv --page ranking.html",
        "my_images/ --nonlenses my_random_galaxies/ --share 0.01",
        "index.csv --checkpoint best.ckpt --maps --accept 0.9 --output lenses.csv",
        "a.fits b.png index.csv --survey cfhtls --prevalence 0.001 --output scores.parquet",
    ],
    "similar": [
        "lens_a.fits lens_b.fits --in my_images/ --survey des --output similar.csv",
        "known_lenses/ --in my_images/ --checkpoint best.ckpt --embeddings my_images.safetensors",
        "another_lens.fits --checkpoint best.ckpt --embeddings my_images.safetensors",
    ],
    "next": [
        "--scores scores.csv --budget 100 --output next.csv",
        "--scores scores.csv --budget 100 --labelled next.csv --embeddings my_images.safetensors --output next2.csv",
    ],
    "census": [
        "scores.csv --labels known_lenses.csv --area 15",
        "scores.csv --labels index.csv --area 15 --propensity theta_E arc_signal magnitude --output census.json",
    ],
    "map": [
        "field.fits --survey kids --output maps.fits",
        "field_g.fits field_r.fits field_i.fits --survey cfhtls --prevalence 1e-4 --output maps.fits",
    ],
    "model": [
        "lens.fits --survey hst --pictures pictures",
        "my_images/ --scores scores.csv --top 50 --survey lsst --output models.csv",
    ],
    "export": [
        "best.ckpt --output model.onnx",
        "my_ensemble/ --int8 true --mixture configs/release_sky.yaml",
    ],
    "card": ["my_ensemble --name me/lens-finder --report evaluation/report.json"],
    "push": ["my_ensemble/ me/lens-finder --report results/evaluation/report.json --create"],
    "pull": ["me/lens-finder --output_dir my_ensemble"],
    "realism": [
        "--real my_images/ --simulated configs/release_sky.yaml --survey cfhtls --classes nonlens",
        "--simulated configs/release_sky.yaml --survey legacy --output_dir pictures",
    ],
}
