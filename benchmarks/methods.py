"""What scripts/benchmark.py compares: data and methods as options of scripts/train.py, and the lines of each table."""

SHORT = {
    "config": "shapes",
    "max_steps": 200,
    "eval_steps": 50,
    "num_samples": 16,
    "scales": [4],
    "reward_funcs": ["mean_iou"],
}
DATA = {
    "shapes": {"config": "shapes"},
    "shapes-short": SHORT,
    "shapes-hard": SHORT
    | {"dataset_name": "shapes-hard", "image_size": [128, 128], "per_device_train_batch_size": 16},
    "shapes-2000": {"config": "shapes", "max_steps": 2000},
    "camvid": {"config": "camvid"},
    "camvid-4800": {"config": "camvid", "max_steps": 4800},
    "camvid-frozen": {"config": "camvid", "encoder_learning_rate": 0, "learning_rate": 1e-2},
    "voc-frozen": {"config": "voc_upernet"},
    "voc-frozen-4800": {"config": "voc_upernet", "max_steps": 4800},
    "voc-frozen-2400": {"config": "voc_upernet", "max_steps": 2400},
    "voc-frozen-600": {"config": "voc_upernet", "max_steps": 600},
    **{
        f"voc-trained-{rate}": {"config": "voc_upernet", "encoder_learning_rate": float(rate), "max_steps": 600}
        for rate in ("1e-4", "3e-5", "1e-5")
    },
    "voc-trained-1200": {"config": "voc_upernet", "encoder_learning_rate": 1e-4},
    "voc-trained-1200-3e-5": {"config": "voc_upernet", "encoder_learning_rate": 3e-5},
    "voc-trained-1200-1e-5": {"config": "voc_upernet", "encoder_learning_rate": 1e-5},
}
PLAIN = {"advantage_normalization": "none", "entropy_coef": 0}
BY_IMAGE = {"advantage_normalization": "group"}
PSR, PSD = {"scales": [16, 8, 4]}, {"credit": "psd"}
STARS = {"reward_funcs": ["star_judge:stars"]}
PIXELS = {"reward_funcs": ["pixel_match"], "advantage_normalization": "mean", "entropy_coef": 0, "num_samples": 64}
BOTH = {"reward_funcs": ["mean_iou", "batch_log_iou"]}
FEW = BOTH | {"num_samples": 16, "scales": [4]}
THIRTY_TWO = {"reward_funcs": ["mean_iou"], "num_samples": 32, "scales": [4]}
EIGHT_EACH = THIRTY_TWO | {"num_iterations": 8, "save_steps": 200}
RUNNING = {"reward_funcs": ["running_log_iou"]}
FOUR = {"num_samples": 4, "scales": [4]}
EIGHT = {"num_samples": 8, "scales": [4]}
SIX_EACH = {"num_iterations": 6, "save_steps": 300, "eval_steps": 150}
CALIBRATED = {
    "reward_funcs": ["batch_log_iou", "pixel_accuracy"],
    "reward_weights": [1, 6],
    "confidence_coef": 8,
}
CALIBRATED_IOU = {"reward_funcs": ["mean_iou", "pixel_accuracy"], "confidence_coef": 2.6}
CRITIC = {
    "credit": "critic",
    "reward_funcs": ["pixel_accuracy"],
    "confidence_coef": 1,
    "advantage_normalization": "none",
    "entropy_coef": 0,
}
EXPECTED_IOU = {"expected_iou_coef": 0.3}
EXPLORING = EXPECTED_IOU | {"exploration_coef": 1, "critic_reach": [1, 4]}
SOLVE_FAR = {"critic_reach": [4], "credit_reach": 1}
HALF_CALIBRATED = {
    "reward_funcs": ["running_log_iou", "pixel_accuracy"],
    "reward_weights": [1, 3],
    "confidence_coef": 4,
}
CONTROLLED = HALF_CALIBRATED | BY_IMAGE | {"credit": "control_variate", "critic_reach": [4], "critic_visits": 60}
ACCURACY = {"reward_funcs": ["pixel_accuracy"], "confidence_coef": 1.3, "entropy_coef": 0}
METHODS = {  # by name, the options of scripts/train.py that differ from the recipe of the data
    "cross-entropy": {"objective": "cross_entropy"},
    "image-level": {},
    "image-level, by image": BY_IMAGE,
    "calibrated": CALIBRATED,
    "calibrated, mean_iou, stride 4, 460 steps": CALIBRATED_IOU | {"scales": [4], "max_steps": 460},
    "calibrated, stride 4, 460 steps": CALIBRATED | {"scales": [4], "max_steps": 460},
    "calibrated, pixel_accuracy": ACCURACY,
    "calibrated, pixel_accuracy, stride 4": ACCURACY | {"scales": [4]},
    "pixel-level": PIXELS | {"scales": [2]},
    "pixel-level, stride 4": PIXELS | {"scales": [4]},
    "REINFORCE": PLAIN | {"credit": "none", "num_samples": 1},
    "leave-one-out": PLAIN,
    "GRPO-style": BY_IMAGE | {"entropy_coef": 0},
    "+ entropy bonus": {"advantage_normalization": "none"},
    "+ SyncAN": PLAIN | {"advantage_normalization": "batch"},
    "+ PSR": PLAIN | PSR,
    "+ PSD": PLAIN | PSD,
    "+ PSD (coupled)": PLAIN | {"credit": "coupled"},
    "+ all": {"advantage_normalization": "batch"} | PSR | PSD,
    "image-level, stride 4": {"scales": [4]},
    "image-level, K=32, stride 1": {"num_samples": 32, "scales": [1]},
    **{f"K={k}": {"num_samples": k, "scales": [4]} for k in (2, 4, 8, 16, 32)},
    **{
        f"reward {name}": {"reward_funcs": [name], "scales": [4]}
        for name in ("batch_log_iou", "mean_iou", "mean_iou_union", "dice", "mean_accuracy", "pixel_accuracy")
    },
    "both rewards": BOTH,
    "both rewards, by image": BOTH | BY_IMAGE,
    "256 batches, leave-one-out": FEW | PLAIN | {"max_steps": 256},
    "64 batches, 8 steps each": FEW | {"max_steps": 512, "num_iterations": 8, "save_steps": 512},
    **{
        f"{batches} batches, K=32, leave-one-out": THIRTY_TWO | PLAIN | {"max_steps": batches}
        for batches in (900, 1200)
    },
    **{
        f"{batches} batches, K=32, 8 steps each": EIGHT_EACH | {"max_steps": 8 * batches}
        for batches in (150, 225, 300)
    },
    "K=4, mean_iou": FOUR | {"reward_funcs": ["mean_iou"]},
    "K=4, calibrated": CALIBRATED | FOUR,
    "K=4, calibrated, mean_iou": CALIBRATED_IOU | FOUR,
    "K=4, critic": CRITIC | FOUR,
    "K=4, critic, 40 visits": CRITIC | FOUR | {"critic_visits": 40},
    "K=4, critic, 1000 images": CRITIC | FOUR | {"max_train_samples": 1000},
    "K=4, critic, 184 images, 40 visits": CRITIC | FOUR | {"max_train_samples": 184, "critic_visits": 40},
    "K=4, critic, 1000 images, expected IoU": CRITIC | FOUR | {"max_train_samples": 1000} | EXPECTED_IOU,
    "K=4, critic, 1000 images, expected IoU, reach 2": CRITIC
    | FOUR
    | {"max_train_samples": 1000, "critic_reach": [1, 2]}
    | EXPECTED_IOU,
    "K=4, critic, 92 images, 60 visits, expected IoU": CRITIC
    | FOUR
    | {"max_train_samples": 92, "critic_visits": 60}
    | EXPECTED_IOU,
    "K=4, critic, 92 images, 60 visits, exploring": CRITIC
    | FOUR
    | {"max_train_samples": 92, "critic_visits": 60}
    | EXPLORING,
    "K=4, half calibrated, running counts": HALF_CALIBRATED | FOUR,
    "K=4, calibrated, pixel_accuracy": ACCURACY | FOUR,
    "K=4, running counts": RUNNING | FOUR,
    "K=4, running counts, 2 steps each": RUNNING | FOUR | {"num_iterations": 2},
    "K=4, leave-one-out": PLAIN | FOUR,
    "K=4, leave-one-out, mean_iou": PLAIN | FOUR | {"reward_funcs": ["mean_iou"]},
    "K=4, control variate": CONTROLLED | FOUR,
    "K=4, control variate, 4 steps each": CONTROLLED | FOUR | {"critic_shared": 0.5, "num_iterations": 4},
    "K=4, critic, 1000 images, reach 4, credit 1": CRITIC
    | FOUR
    | {"max_train_samples": 1000}
    | EXPECTED_IOU
    | SOLVE_FAR,
    "K=4, critic, 92 images, 60 visits, exploring, reach 4, credit 1": CRITIC
    | FOUR
    | {"max_train_samples": 92, "critic_visits": 60}
    | EXPLORING
    | SOLVE_FAR,
    "K=8, leave-one-out": PLAIN | EIGHT,
    "K=8, control variate, 6 steps each": CONTROLLED | EIGHT | SIX_EACH | {"critic_shared": 0.5},
    "K=8, half calibrated, 6 steps each": HALF_CALIBRATED | BY_IMAGE | EIGHT | SIX_EACH,
    **{f"grid {128 // stride}": {"scales": [stride]} for stride in (8, 4, 2, 1)},
    "PSR 16 to 128": {"scales": [8, 4, 2, 1]},
    "PSD, grid 128": PSD | {"scales": [1]},
    **{f"stars, stride {stride}": STARS | {"scales": [stride]} for stride in (4, 2)},
    "stars, PSR to stride 4": STARS | {"scales": [16, 8, 4], "scale_warmup": 0.6},
    "stars, PSR to stride 2": STARS | {"scales": [16, 8, 4, 2], "scale_warmup": 0.6},
}
SUITES = {
    "convergence": ["cross-entropy", "image-level", "pixel-level"],
    "choices": [
        "cross-entropy",
        "image-level",
        "image-level, by image",
        "calibrated",
        "calibrated, mean_iou, stride 4, 460 steps",
        "calibrated, stride 4, 460 steps",
        "calibrated, pixel_accuracy",
        "calibrated, pixel_accuracy, stride 4",
        "image-level, stride 4",
        "reward mean_iou",
        "both rewards",
        "both rewards, by image",
        "K=4",
        "K=32",
        "pixel-level, stride 4",
    ],
    "longer": [
        "cross-entropy",
        "image-level",
        "image-level, by image",
        "calibrated, pixel_accuracy",
        "image-level, K=32, stride 1",
        "both rewards",
        "pixel-level",
    ],
    "few": ["cross-entropy", *(name for name in METHODS if name == "K=4" or name.startswith("K=4,"))],
    "methods": ["cross-entropy", "pixel-level", "image-level", "REINFORCE", "leave-one-out", "GRPO-style"],
    "parts": ["leave-one-out", *(name for name in METHODS if name.startswith("+")), "image-level"],
    "samples": ["cross-entropy", *(f"K={k}" for k in (2, 4, 8, 16, 32)), "image-level"],
    "queries": [
        "cross-entropy",
        *(name for name in METHODS if "batches" in name or name.startswith("K=8,")),
        "K=4, leave-one-out",
        "K=4, control variate, 4 steps each",
    ],
    "rewards": [name for name in METHODS if name.startswith("reward ")],
    "stars": [name for name in METHODS if name.startswith("stars")],
    "grids": ["cross-entropy", *(name for name in METHODS if "grid" in name or name.startswith("PSR"))],
}
