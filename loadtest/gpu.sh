#!/usr/bin/env bash
# Measure one GPU, from the bare forward pass to HTTP, in under five minutes, without a network.
#
#   loadtest/gpu.sh wheels DIR            where there is a network: fetch and pack what the other needs
#   WHEELS=DIR OUT=DIR loadtest/gpu.sh    on the machine with the GPU, from the repository's root
#
# That machine has Python 3.12 (PYTHON), CUDA 13, and an image for PyTorch with transformers in it.
# DIR gets site.tar.xz in pieces of 40 MB, for a way that limits what it carries at once. PROVIDER
# names a smaller build of ONNX Runtime's libonnxruntime_providers_cuda.so to pack in its place.
#
# OUT gets gpu.md, gpu.json, gpu.log and record.json (`python -m retort.loadtest.report` takes it
# into a page). Each part runs by itself and within a limit: one that fails or hangs is shown in
# gpu.md and leaves the others. DEVICE=cpu SECONDS_EACH=0.2 walks the same way without a GPU.
set -u -o pipefail

PYTHON=${PYTHON:-python3}

# What such an image lacks, or has in an older version. A test imports the server with nothing else
# than this and what such an image has.
NEEDED="onnxruntime-gpu fastapi starlette pydantic pydantic_core pydantic-settings python-dotenv
annotated-types typing-inspection typing_extensions anyio uvicorn httptools orjson
opentelemetry-api msgspec pyzmq sentencex"

if [ "${1:-}" = wheels ]; then
  folder=${2:?name the folder for the packages}
  if [ -n "${PROVIDER:-}" ] && [ ! -f "$PROVIDER" ]; then
    echo "PROVIDER is $PROVIDER, and there is no such file" >&2
    exit 1
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir -p "$folder" "$work/wheels" "$work/site"
  # shellcheck disable=SC2086  # one word each
  for package in $NEEDED; do
    "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: -c constraints.txt \
      --python-version 3.12 --implementation cp \
      --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 \
      --platform manylinux_2_24_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --platform manylinux1_x86_64 --platform any \
      --dest "$work/wheels" "$package" || exit 1
  done
  # None of them needs more than to be unpacked.
  for wheel in "$work"/wheels/*.whl; do
    "$PYTHON" -m zipfile -e "$wheel" "$work/site" || exit 1
  done
  if [ -n "${PROVIDER:-}" ]; then
    cp "$PROVIDER" "$work/site/onnxruntime/capi/libonnxruntime_providers_cuda.so" || exit 1
  fi
  rm -f "$folder"/site.tar.xz.*
  tar -C "$work/site" -cf - . | xz --threads=0 |
    split --bytes=40MB --numeric-suffixes - "$folder/site.tar.xz." || exit 1
  ls -l "$folder"
  exit
fi

OUT=${OUT:-runs/gpu}
WHEELS=${WHEELS:-}
DEVICE=${DEVICE:-cuda}
BUNDLE=${BUNDLE:-retort-small}
STUDENTS=${STUDENTS-fp16-graphs fp16} # more: fp32 tensorrt-fp16
SERVERS=${SERVERS-fp16-graphs null}
TEACHERS=${TEACHERS-12x768}
PASSAGES=${PASSAGES:-10 100}
TOKENS=${TOKENS:-128}
BATCH_TOKENS=${BATCH_TOKENS-16384 32768 65536 131072}
WORKERS=${WORKERS-1 4 8}
PAIRS_IN_FLIGHT=${PAIRS_IN_FLIGHT:-3200}
ROUNDS=${ROUNDS:-2}
SECONDS_EACH=${SECONDS_EACH:-1}
TOTAL_SECONDS=${TOTAL_SECONDS:-285}
# Parts run as long as all of them together leave time for the report.
DEADLINE=$((SECONDS + TOTAL_SECONDS - 10))
if [ "$DEVICE" = cpu ]; then
  STUDENTS=fp32
  SERVERS=${SERVERS/fp16-graphs/fp32}
fi

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir -p "$OUT" "$WORK/parts"
: >"$OUT/gpu.log"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1

part() { # limit in seconds, part, its variant or nothing
  local limit=$1 name=$2${3:+-$3} left=$((DEADLINE - SECONDS)) status=0
  shift
  if [ "$left" -lt 5 ]; then
    echo "no time was left for it" >"$WORK/parts/$name.failed"
    return 1
  fi
  [ "$left" -lt "$limit" ] && limit=$left
  printf '%4d s  %s\n' "$SECONDS" "$name"
  # shellcheck disable=SC2086  # lists of words
  timeout --kill-after=5 "$limit" "$PYTHON" -m retort.loadtest.experiments.gpu "$@" --out "$WORK" \
    --device "$DEVICE" --bundle "$BUNDLE" --passages $PASSAGES --tokens "$TOKENS" \
    --batch-tokens $BATCH_TOKENS --rounds "$ROUNDS" --seconds "$SECONDS_EACH" \
    --workers $WORKERS --pairs-in-flight "$PAIRS_IN_FLIGHT" --teachers $TEACHERS \
    >"$WORK/log" 2>&1 || status=$?
  { echo "=== $name: status $status"; cat "$WORK/log"; } >>"$OUT/gpu.log"
  if [ "$status" -ne 0 ]; then
    { tail -n 10 "$WORK/log"; echo "status $status (124: stopped after $limit s)"; } \
      >"$WORK/parts/$name.failed"
    echo "        failed with status $status"
  fi
  return "$status"
}

if [ -n "$WHEELS" ]; then
  echo "   0 s  unpack"
  cat "$WHEELS"/site.tar.xz.* | "$PYTHON" -c '
import sys, tarfile
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|xz") as packed:
    packed.extractall(sys.argv[1], filter="data")
' "$WORK/site" >>"$OUT/gpu.log" 2>&1 ||
    { echo "what $WHEELS holds could not be unpacked: see $OUT/gpu.log"; exit 1; }
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
fi

part 30 machine
for student in $STUDENTS; do
  part 40 probe "$student"
done
part 90 bare || [ -e "$WORK/parts/bare.json" ] || part 40 bare "" --no-torch
for server in $SERVERS; do
  if [ "$server" = null ]; then
    ROUNDS=1 part 60 http null
  elif [ -e "$WORK/parts/probe-$server.json" ]; then
    part 140 http "$server"
  fi
done
"$PYTHON" -m retort.loadtest.experiments.gpu report --out "$WORK" && cp "$WORK/gpu.md" "$WORK/gpu.json" "$WORK/record.json" "$OUT/"
printf '%4d s  done: %s\n' "$SECONDS" "$OUT/gpu.md"
cat "$OUT/gpu.md"
