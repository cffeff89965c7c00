# Read by every login shell: the image's own programs first, and what machine this is.
export PATH="/opt/nightjar/bin:/opt/conda/bin:$HOME/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Once a login, not in each pane of tmux or screen.
if [ -n "${PS1:-}" ] && [ -z "${TMUX:-}${STY:-}" ] && [ -r /run/nightjar/greeting ]; then
    cat /run/nightjar/greeting
    [ -r /run/nightjar/card ] && cat /run/nightjar/card
    echo
fi
