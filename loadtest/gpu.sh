#!/usr/bin/env bash
# Measure one GPU, from the bare forward pass to HTTP, in under eight minutes, without a network.
#
#   loadtest/gpu.sh wheels DIR            where there is a network: fetch what the other needs
#   WHEELS=DIR OUT=DIR loadtest/gpu.sh    on the machine with the GPU, from the repository's root
#
# That machine has Python 3.12 (PYTHON), CUDA 13, and PyTorch with CUDA and transformers in it.
# OUT gets gpu.md, gpu.json, gpu.log and record.json (for docs/measured/gpu.json). Each part runs by
# itself and within a limit: one that fails or hangs is shown in gpu.md and leaves the others.
# DEVICE=cpu SECONDS_EACH=0.2 walks the same way without a GPU. PAIRS names a file of
# query<TAB>passage lines for the servers, TEACHER a teacher's bundle to serve too.
set -u -o pipefail

PYTHON=${PYTHON:-python3}

# What the image lacks apart from PyTorch, transformers and what they bring.
NEEDED="onnxruntime-gpu onnx ml_dtypes protobuf fastapi starlette pydantic pydantic_core
pydantic-settings python-dotenv annotated-types annotated-doc typing-inspection typing_extensions
anyio idna uvicorn h11 click httptools orjson prometheus_client uvloop flatbuffers
opentelemetry-api packaging"

if [ "${1:-}" = wheels ]; then
  folder=${2:?name the folder for the wheels}
  mkdir -p "$folder"
  # shellcheck disable=SC2086  # one word each
  for package in $NEEDED; do
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: -c constraints.txt \
      --python-version 3.12 --implementation cp \
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
      --platform manylinux_2_24_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any \
      --dest "$folder" "$package" || exit 1
  done
  # A way to that machine may have a limit on what it carries at once.
  find "$folder" -name '*.whl' -size +60M | while read -r wheel; do
    split --bytes=60M --numeric-suffixes "$wheel" "$wheel.part-" && rm "$wheel"
  done
  ls -l "$folder"
  exit
fi

OUT=${OUT:-runs/gpu}
WHEELS=${WHEELS:-}
DEVICE=${DEVICE:-cuda}
BUNDLE=${BUNDLE:-retort-small}
TEACHER=${TEACHER:-}
PAIRS=${PAIRS:-}
TEACHERS=${TEACHERS-12x768 24x1024}
PASSAGES=${PASSAGES:-10 100}
TOKENS=${TOKENS:-128}
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-1.5}
CLIENTS=${CLIENTS:-32}
TOTAL_SECONDS=${TOTAL_SECONDS:-470}
# Parts run as long as all of them together leave time for the report.
DEADLINE=$((SECONDS + TOTAL_SECONDS - 10))

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$OUT" "$WORK/parts"
: >"$OUT/gpu.log"
export PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=true HF_HUB_OFFLINE=1

part() { # name, limit in seconds, arguments of experiments/gpu.py
  local name=$1 limit=$2 left=$((DEADLINE - SECONDS)) status=0
  shift 2
  if [ "$left" -lt 5 ]; then
    echo "no time was left for it" >"$WORK/parts/$name.failed"
    return 1
  fi
  [ "$left" -lt "$limit" ] && limit=$left
  printf '%4d s  %s\n' "$SECONDS" "$name"
  # shellcheck disable=SC2086  # lists of words
  timeout --kill-after=5 "$limit" "$PYTHON" -m retort.loadtest.experiments.gpu "$@" --out "$WORK" \
    --device "$DEVICE" --bundle "$BUNDLE" --tokens "$TOKENS" --rounds "$ROUNDS" \
    --seconds "$SECONDS_EACH" --clients "$CLIENTS" ${PAIRS:+--pairs "$PAIRS"} \
    --teachers $TEACHERS >"$WORK/log" 2>&1 ||
    status=$?
  { echo "=== $name: status $status"; cat "$WORK/log"; } >>"$OUT/gpu.log"
  if [ "$status" -ne 0 ]; then
    { tail -n 10 "$WORK/log"; echo "status $status (124: stopped after $limit s)"; } \
      >"$WORK/parts/$name.failed"
    echo "        failed with status $status"
  fi
  return "$status"
}

if [ -n "$WHEELS" ]; then
  echo "   0 s  install"
  mkdir "$WORK/wheels"
  for first in "$WHEELS"/*.part-00; do
    [ -e "$first" ] || continue
    whole=${first%.part-00}
    cat "$whole".part-* >"$WORK/wheels/$(basename "$whole")"
  done
  for wheel in "$WHEELS"/*.whl; do
    [ -e "$wheel" ] && cp "$wheel" "$WORK/wheels/"
  done
  "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir \
    --target "$WORK/site" "$WORK"/wheels/*.whl >>"$OUT/gpu.log" 2>&1 ||
    { echo "the wheels of $WHEELS could not be installed: see $OUT/gpu.log"; exit 1; }
  rm -rf "$WORK/wheels"
  export PYTHONPATH="$WORK/site:$PWD${PYTHONPATH:+:$PYTHONPATH}"
fi
if [ "$DEVICE" = cuda ]; then
  # CUDA's libraries that came with PyTorch are where the loader does not look.
  libraries=$("$PYTHON" - <<'EOF'
from pathlib import Path
try:
    import nvidia
    print(":".join(str(f) for p in nvidia.__path__ for f in sorted(Path(p).glob("**/lib"))))
except ImportError:
    print("")
EOF
  )
  export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  variants="fp16-graphs fp16 fp32 tensorrt-fp16" servers="fp16-graphs tensorrt-fp16 fp32"
else
  variants="fp32" servers="fp32"
fi

# shellcheck disable=SC2086  # numbers
set -- $PASSAGES
part machine 60 machine --passages "$@"
for variant in $variants; do
  part "probe-$variant" 90 probe "$variant" --passages "$@"
done
part bare 150 bare --passages "$@" ||
  part bare-without-pytorch 60 bare --no-torch --passages "$@"
first=1
for server in $servers; do
  [ -e "$WORK/parts/probe-$server.json" ] || continue
  if [ "$first" = 1 ]; then
    part "http-$server" 120 http "$server" --passages "$@"
  else
    part "http-$server" 60 http "$server" --passages "${@: -1}"
  fi
  first=0
done
if [ -n "$TEACHER" ]; then
  part http-teacher 60 http "${servers%% *}" --teacher "$TEACHER" --passages "${@: -1}"
fi
"$PYTHON" -m retort.loadtest.experiments.gpu report --out "$WORK" && cp "$WORK/gpu.md" "$WORK/gpu.json" "$WORK/record.json" "$OUT/"
printf '%4d s  done: %s\n' "$SECONDS" "$OUT/gpu.md"
cat "$OUT/gpu.md"
