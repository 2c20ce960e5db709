#!/bin/bash
# Workers of one study as a Slurm array:  sbatch deploy/slurm/worker.sh STUDY
# Set TSDIAG_STORAGE and TSDIAG_ARTIFACTS first; the study is registered with `tsdiag prepare`.
#
# 32 tasks, 8 at a time: where one reaches its time limit, the next goes on with its trial. Tasks
# that find nothing left to do end at once.
#SBATCH --job-name=tsdiag
#SBATCH --array=0-31%8
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=04:00:00
#SBATCH --output=tsdiag-%A_%a.log
# SIGTERM to this script two minutes before the limit; a worker needs ten seconds of them.
#SBATCH --signal=B:TERM@120
# A task that was pre-empted is queued again.
#SBATCH --requeue
set -euo pipefail

study=${1:?name the study: sbatch deploy/slurm/worker.sh STUDY}
: "${TSDIAG_STORAGE:?set it to the URL of the database, without a password: see ~/.pgpass}"
: "${TSDIAG_ARTIFACTS:?set it to a folder that all nodes reach, or to s3://BUCKET/PREFIX}"

# In place of this shell, so that the worker gets the signal itself, and gets it once: the second
# one would end it without a checkpoint.
exec tsdiag worker "$study"
