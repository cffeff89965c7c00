#!/bin/sh
# Makes the committed pictures from the drawings beside them. Needs rsvg-convert (librsvg2-bin) and convert (imagemagick).
set -eu
cd "$(dirname "$0")"
for state in earning waiting yours trouble; do
  # As panels want it, from one of 22 pixels to one on a screen of twice or three times the density.
  for size in 22 32 48 64; do
    rsvg-convert --width "$size" --height "$size" --output "tray/$state-$size.png" "tray/$state.svg"
  done
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
