#!/usr/bin/env python3
"""Draws what a terminal shows as a PNG, for docs/images.

    tmux capture-pane -e -p -t SESSION | python3 Scripts/terminal_image.py OUTPUT.png COLUMNS      (needs Pillow and DejaVu Sans Mono)
"""
import re
import sys

from PIL import Image, ImageDraw, ImageFont

COLOURS = {31: "#e06c75", 32: "#98c379", 33: "#e5c07b", 36: "#56b6c2"}
FONT = "/usr/share/fonts/truetype/dejavu/DejaVuSansMono%s.ttf"


def main():
    output, columns = sys.argv[1], int(sys.argv[2])
    lines = sys.stdin.read().rstrip("\n").split("\n")
    size = 16
    fonts = {bold: ImageFont.truetype(FONT % ("-Bold" if bold else ""), size) for bold in (False, True)}
    wide, high, edge = fonts[False].getlength("M"), 20, 12
    image = Image.new("RGB", (int(columns * wide) + 2 * edge, len(lines) * high + 2 * edge), "#1e222a")
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        column, bold, faint, colour = 0, False, False, None
        for part in re.split(r"(\x1b\[[0-9;]*m)", line):
            codes = re.fullmatch(r"\x1b\[([0-9;]*)m", part)
            if codes:
                for code in (int(c or 0) for c in codes.group(1).split(";")):
                    if code in (0, 39, 22):
                        bold, faint, colour = (False, False, None) if code == 0 else (bold and code != 22, faint and code != 22, None if code == 39 else colour)
                    elif code in (1, 2):
                        bold, faint = bold or code == 1, faint or code == 2
                    elif code in COLOURS:
                        colour = COLOURS[code]
                continue
            fill = colour or ("#7f848e" if faint else "#d7dae0")
            for character in part:
                draw.text((edge + column * wide, edge + row * high), character, font=fonts[bold], fill=fill)
                column += 1
    image.save(output, optimize=True)


main()
