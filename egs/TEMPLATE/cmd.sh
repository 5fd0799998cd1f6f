# shellcheck shell=bash
# How heavy commands are started: empty runs them here, (srun --gres=gpu:1) on a SLURM cluster.
# shellcheck disable=SC2034 # read by driver.sh
train_cmd=()
