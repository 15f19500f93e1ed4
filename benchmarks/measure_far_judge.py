"""
Trains on a slow judge behind a URL that fails now and then, kills the run three times, and counts what the judge was
asked: throughput against the sum of its delays, answers lost, maps asked about twice. Into records/reliability.jsonl.

    python benchmarks/measure_far_judge.py
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from record import ROOT, append_record, provenance, records_of


sys.path.insert(0, str(ROOT / "tests"))

from helpers.judge_server import JudgeServer, share_of_class_one

from rss_hf.feedback import FeedbackStore
from rss_hf.judges import RemoteReward


DELAY, STEPS, KILLS = 0.2, 12, 3
OPTIONS = {"config": ROOT / "configs/shapes.yaml", "num_samples": 8, "per_device_train_batch_size": 8, "strides": 4}
OPTIONS |= {"max_steps": STEPS, "save_steps": 4, "eval_strategy": "no", "max_train_samples": 64, "max_eval_samples": 8}


def main():
    chance = random.Random(0)
    with JudgeServer(share_of_class_one) as server, tempfile.TemporaryDirectory() as folder:
        server.faults = [500 if chance.random() < 0.05 else DELAY for _ in range(10_000)]
        kills, start = 0, time.perf_counter()
        while kills < KILLS:
            run, asked = launch(server.url, folder), len(server.asked)
            while run.poll() is None and len(server.asked) < asked + 64:
                time.sleep(0.05)
            time.sleep(chance.uniform(0.5, 2))  # anywhere in the next draws
            kills += run.poll() is None
            run.kill()
            run.wait()
        assert launch(server.url, folder).wait() == 0
        seconds = time.perf_counter() - start
        store = FeedbackStore(Path(folder, "feedback"))
        requests = len(server.requests)
        record = {"measure": "far judge", "command": "python benchmarks/measure_far_judge.py"} | provenance()
        record |= {"maps": len(server.asked), "requests": requests, "kills": KILLS, "delay_seconds": DELAY}
        # Answers that were on their way when a run was killed are the only ones that can be asked for again.
        record |= {"asked_twice": sum(n > 1 for n in server.asked.values()), "lost": len(server.asked) - len(store)}
        record |= {"seconds_with_four_starts": round(seconds, 1), "sum_of_delays": round(requests * DELAY, 1)}
    record |= {"without_kills": throughput()}
    append_record(records_of("reliability"), record)
    print(record)


def throughput() -> dict:
    """1024 maps of 64x64 in requests of 32, four at once: seconds, against the sum of the judge's delays."""
    maps = torch.randint(5, (1024, 64, 64), generator=torch.Generator().manual_seed(0))
    with JudgeServer(share_of_class_one) as server:
        server.faults = [DELAY] * 1000
        reward, start = RemoteReward(server.url, send_images=False), time.perf_counter()
        reward(maps, id=[str(i) for i in range(len(maps))])
        seconds, delays = time.perf_counter() - start, len(server.requests) * DELAY
    return {"maps": len(maps), "seconds": round(seconds, 2), "sum_of_delays": round(delays, 1)}


def launch(url: str, folder: str) -> subprocess.Popen:
    words = [f"--{name}={value}" for name, value in OPTIONS.items()]
    command = [sys.executable, "-m", "rss_hf.cli.train", *words, "--reward_funcs", url]
    command += [f"--feedback_dir={folder}/feedback", f"--output_dir={folder}/out", "--resume_from_checkpoint=last"]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
