# Read by every login shell: the image's own programs first, the proxy if there is one, and what machine this is.
export PATH="/opt/nightjar/bin:/opt/conda/bin:$HOME/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
if [ -r /run/nightjar/environment.sh ]; then
    . /run/nightjar/environment.sh
fi
if [ -n "${PS1:-}" ]; then
    PS1='\[\e[1;32m\]nightjar\[\e[0m\]:\[\e[1;34m\]\w\[\e[0m\]\$ '
    # Once a login, not in each pane of tmux or screen.
    if [ -z "${TMUX:-}${STY:-}" ] && [ -r /run/nightjar/greeting ]; then
        cat /run/nightjar/greeting
        [ -r /run/nightjar/card ] && cat /run/nightjar/card
        echo
    fi
fi
