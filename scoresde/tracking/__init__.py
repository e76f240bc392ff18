"""Who is told of a run's figures: metrics.jsonl always, wandb and TensorBoard, the terminal, a sweep's status files."""
