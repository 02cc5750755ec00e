#!/usr/bin/env bash
# corer with libtorch: every family traced by corer itself, the traces converted and held against PyTorch's recordings, and
# every trace in git run in libtorch beside the package made of it.
#
#   conformance/libtorch.sh              fetches libtorch, lints and tests under the feature
#   conformance/libtorch.sh env          fetches libtorch and prints what a build with the feature needs
#   conformance/libtorch.sh minilm       after that: MiniLM traced, converted and verified, with its figures
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=$(fixtures/python-env.sh libtorch)
packages=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
home=$PWD/.cache/libtorch

# The shape tch looks for. The CUDA libraries are left out: what is not there is not linked.
rm -rf "$home"
mkdir -p "$home/lib"
ln -s "$packages/torch/include" "$home/include"
for library in "$packages"/torch/lib/*; do
    case ${library##*/} in
        *cuda* | *nvrtc* | *nvshmem* | *python* | *shm*) ;;
        *.so | *.so.* | *.dylib) ln -s "$library" "$home/lib/" ;;
    esac
done
export LIBTORCH=$home LIBTORCH_CXX11_ABI=1
# Where the loader finds them; the libraries find each other from where they really are.
export LD_LIBRARY_PATH=$packages/torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export DYLD_LIBRARY_PATH=$packages/torch/lib${DYLD_LIBRARY_PATH:+:$DYLD_LIBRARY_PATH}

case ${1:-test} in
    test)
        cargo clippy -p corer-libtorch -p corer --features corer-libtorch/libtorch,corer/libtorch --all-targets --locked -- -D warnings
        cargo test -p corer-libtorch -p corer --features corer-libtorch/libtorch,corer/libtorch --locked libtorch
        ;;
    env)
        printf 'export %s=%q\n' LIBTORCH "$LIBTORCH" LIBTORCH_CXX11_ABI 1 LD_LIBRARY_PATH "$LD_LIBRARY_PATH"
        ;;
    minilm)
        model=$(fixtures/fetch_minilm.sh)
        work=$(mktemp -d)
        trap 'rm -rf "$work"' EXIT
        cargo build -p corer --features libtorch --locked
        corer=$PWD/target/debug/corer
        cp "$model/tokenizer.json" "$work/"
        time "$corer" trace "$model" -o "$work/MiniLM.pt"
        time "$corer" convert "$work/MiniLM.pt" -o "$work/MiniLM.mlpackage" --precision fp32
        # The two references agree when both are this near to the one package.
        "$corer" verify "$work/MiniLM.mlpackage" --reference "$work/MiniLM.pt" --reference-engine libtorch --max-abs 1e-5
        "$corer" verify "$work/MiniLM.mlpackage" --reference "$model" --max-abs 1e-5
        CORER_CHECKPOINT=$model cargo test -p corer-libtorch --features libtorch --locked libtorch_and_candle -- --nocapture
        ;;
    *)
        echo "usage: conformance/libtorch.sh [test|env|minilm]" >&2
        exit 2
        ;;
esac
