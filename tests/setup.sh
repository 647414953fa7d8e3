#!/usr/bin/env bash
# Makes sure that this machine has a Vulkan adapter: installs Debian's software driver (llvmpipe) only where there is none.
# Further arguments are commands that must be there too; on Debian each is the name of its package.
set -euo pipefail
# Debian gives ordinary users no sbin, where ldconfig is.
PATH=$PATH:/usr/sbin:/sbin

adapter_is_there() {
    # A driver announces itself by a manifest; the loader is the library that finds it.
    # Not through a pipe: `grep -q` stops reading early, and pipefail would take that for a failure of ldconfig.
    case "$(ldconfig -p 2>/dev/null || true)" in *libvulkan.so.1*) ;; *) return 1 ;; esac
    local folder manifest
    [ -n "${VK_DRIVER_FILES:-}${VK_ICD_FILENAMES:-}" ] && return 0
    for folder in /usr/share/vulkan/icd.d /usr/local/share/vulkan/icd.d /etc/vulkan/icd.d "$HOME/.local/share/vulkan/icd.d"; do
        for manifest in "$folder"/*.json; do
            case "$manifest" in
                *lvp*) return 0 ;; # The software driver needs no hardware.
                *.json) [ -e "$manifest" ] && { [ -e /dev/nvidiactl ] || [ -e /dev/dri/renderD128 ]; } && return 0 ;;
            esac
        done
    done
    return 1
}

[ "$(uname -s)" = Linux ] || exit 0
missing=()
adapter_is_there || missing+=(mesa-vulkan-drivers libvulkan1)
for tool in "$@"; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
[ "${#missing[@]}" = 0 ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "kiln: missing: ${missing[*]} (Debian's names); install them, or for another GPU its own Vulkan driver, and run this again" >&2
    exit 1
fi
root=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "kiln: run as root: apt-get install ${missing[*]}" >&2; exit 1; }
    root=sudo
fi
echo "kiln: installing ${missing[*]}" >&2
$root apt-get update -qq
DEBIAN_FRONTEND=noninteractive $root apt-get install -y -qq "${missing[@]}" >/dev/null
