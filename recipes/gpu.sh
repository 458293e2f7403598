#!/usr/bin/env bash
# Teacher, labels, student and bundle on one GPU: about ten minutes on an H100 are the aim.
#
#   recipes/gpu.sh WEIGHTS [FOLDER]
#
# WEIGHTS is the folder of a 12-layer encoder, such as all-mpnet-base-v2. FOLDER (runs/gpu) gets what
# is made. Nothing comes from a network, so build on a machine that has one what is learned from:
#
#   retort data build recipes/labelled-wide.yaml
#   retort data build recipes/candidates.yaml
#   retort data sets runs/sets
#
# A killed run goes on where it was. TRY=1 does every step at a size that a CPU can do in minutes.
set -euo pipefail
weights=${1:?name the folder of a 12-layer encoder}
to=${2:-runs/gpu}
mkdir -p "$to"

teach=(backbone="$weights" shape=hub-cross-encoder out="$to/mpnet" \
    table=runs/data/labelled-wide.parquet)
learn=(out="$to/student" store="$to/scores" teachers.0.path="$to/mpnet")
few=() one=()
if [[ ${TRY:-} ]]; then
    teach+=(optimiser.epochs=0.0003 optimiser.batch_pairs=16)
    for stage in 0 1; do
        learn+=("stages.$stage.limit=256" "stages.$stage.optimiser.epochs=1" \
            "stages.$stage.optimiser.batch_tokens=2048" "stages.$stage.optimiser.compile=false")
    done
    few=(--depth 2) one=(--set rerank-qed --resamples 100)
fi

step() {
    local started=$SECONDS
    echo "$1" >&2
    shift
    "$@"
    echo "    $((SECONDS - started)) s" >&2
}

step "teaching the cross-encoder" retort teach recipes/teacher-mpnet.yaml "${teach[@]}"
step "labelling" retort label recipes/gpu-student.yaml "${learn[@]}"
step "distilling" retort distill recipes/gpu-student.yaml "${learn[@]}"
step "exporting" retort export "$to/student/student" "$to/bundle" \
    --held-out runs/sets/parity/parity.jsonl "${few[@]}" \
    --calibrate runs/sets/choose/neuronblocks-valid.jsonl \
    --calibrate runs/sets/choose/rerank-nqg.jsonl --method TMKD
step "evaluating" retort evaluate runs/sets/measure --system student="$to/bundle" \
    --system before=retort-small --student student --undistilled before \
    "${one[@]}" --out "$to/quality.json" --report "$to/quality.md"
echo "$to/bundle: retort serve --bundle $to/bundle" >&2
