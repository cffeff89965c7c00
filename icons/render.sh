#!/bin/sh
# Makes the committed pictures from the drawings beside them. Needs rsvg-convert (librsvg2-bin) and convert (imagemagick).
set -eu
cd "$(dirname "$0")"
for state in earning waiting yours trouble; do
  rsvg-convert --width 64 --height 64 --output "tray/$state.png" "tray/$state.svg"
done
for size in 32 128 256 512; do
  rsvg-convert --width "$size" --height "$size" --output "app-$size.png" app.svg
done
# Windows picks the size that it needs from one file.
set --
for size in 16 24 32 48 64 256; do
  rsvg-convert --width "$size" --height "$size" --output "ico-$size.png" app.svg
  set -- "$@" "ico-$size.png"
done
convert "$@" app.ico
rm "$@"
