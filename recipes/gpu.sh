#!/usr/bin/env bash
# Teacher, labels, both models that ship and their bundles, on one GPU: docs/distillation.md has how
# long each took on an H100.
#
#   recipes/gpu.sh WEIGHTS [FOLDER]
#
# WEIGHTS is the folder of a 12-layer encoder, such as all-mpnet-base-v2. FOLDER (runs/gpu) gets what
# is made. Nothing comes from a network, so build on a machine that has one what is learned from:
#
#   retort data build recipes/labelled-wide.yaml
#   retort data build recipes/candidates.yaml
#   retort data sets runs/sets
#   retort data sets runs/calibration --choose rerank-nqg --choose-queries 500
#
# A killed run goes on where it was. TRY=1 does every step at a size that a CPU can do in 20 minutes.
set -euo pipefail
weights=${1:?name the folder of a 12-layer encoder}
to=${2:-runs/gpu}
mkdir -p "$to"

teach=(backbone="$weights" out="$to/mpnet")
learn=(store="$to/scores" teachers.0.path="$to/mpnet")
few=() one=()
if [[ ${TRY:-} ]]; then
    teach+=(optimiser.epochs=0.0003 optimiser.batch_pairs=16)
    for stage in 0 1; do
        learn+=("stages.$stage.limit=256" "stages.$stage.optimiser.epochs=1" \
            "stages.$stage.optimiser.batch_tokens=2048")
    done
    few=(--depth 2) one=(--set trecqa-test --resamples 100)
fi

step() {
    local started=$SECONDS
    echo "$1" >&2
    shift
    "$@"
    echo "    $((SECONDS - started)) s" >&2
}

systems=(--system mpnet="hub-cross-encoder:$to/mpnet")
step "teaching the cross-encoder" retort teach recipes/teacher-mpnet.yaml "${teach[@]}"
for name in retort-small retort-base; do
    own=("recipes/$name.yaml" out="$to/$name" "${learn[@]}")
    step "$name: labelling" retort label "${own[@]}"
    step "$name: distilling" retort distill "${own[@]}"
    step "$name: exporting" retort export "$to/$name/student" "$to/models/$name" \
        --held-out runs/sets/parity/parity.jsonl "${few[@]}" \
        --calibrate runs/sets/choose/neuronblocks-valid.jsonl \
        --calibrate runs/calibration/choose/rerank-nqg.jsonl --method TMKD
    systems+=(--system "$name=$to/models/$name")
done
step "evaluating" retort evaluate runs/sets/measure "${systems[@]}" \
    --student retort-small --teacher mpnet \
    "${one[@]}" --out "$to/quality.json" --report "$to/quality.md"
echo "$to/models/retort-small: retort serve --bundle $to/models/retort-small" >&2
