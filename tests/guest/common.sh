# Sourced by the scripts that make kernels, guest disks and the lab.

# Everything that is made once and kept: kernels, guest disks, the lab's snapshots.
cache_dir() {
  local base=${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}
  printf '%s\n' "${BULKHEAD_CACHE:-${base:-/var/tmp}/bulkhead}"
}

# recipe_key TEXT-OR-FILE...: changes when the content of a file or one of the words does.
recipe_key() {
  local part
  for part; do
    if [ -f "$part" ]; then cat -- "$part"; else printf '%s\n' "$part"; fi
  done | sha256sum | cut -c1-16
}

# say TEXT...: one line of progress, with the seconds since the script started.
say() { printf '[%4d s] %s\n' "$SECONDS" "$*" >&2; }

# quietly COMMAND...: its output is shown only if it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || status=$?
  [ "$status" = 0 ] || { cat "$log" >&2; printf 'failed (%d): %s\n' "$status" "$*" >&2; }
  rm -f "$log"
  return "$status"
}
