# Sourced by foreign-root and debian-source: an apt of our own in the private cache. The system's apt state is only read
# (mirror, keyring, proxy), dpkg's never touched.
#
#   say, die            messages of $program
#   private_apt_at      makes $apt for an architecture and a suite, with lines "deb" or "deb-src"
#   private_apt         apt-get there
cache=${MYNA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/myna}

die() { printf '%s: %s\n' "$program" "$1" >&2; shift; for line in "$@"; do printf '  %s\n' "$line" >&2; done; exit 1; }
say() { printf '%s: %s\n' "$program" "$*" >&2; }

# The machine's own mirror: where the suite this system runs comes from.
mirror() {
    apt-get indextargets --format '$(RELEASE) $(REPO_URI) $(COMPONENT) $(SIGNED_BY)' 'Created-By: Packages' 2>/dev/null |
        awk -v suite="${VERSION_CODENAME:-none}" '$1 == suite && $3 == "main" { print $2, $4; exit }'
}

# private_apt_at FOLDER deb|deb-src ARCH SUITE: sets $apt; waits for other runs with it.
private_apt_at() {
    apt=$1
    local kind=$2 arch=$3 suite=$4 uri keyring
    mkdir -p "$apt"
    exec 9>"$apt/lock"
    flock -n 9 || { say "waiting for another run to finish with $suite-$arch"; flock 9; }
    command -v apt-get >/dev/null 2>&1 || die "apt-get is not here: what is fetched comes from Debian's archive by apt."
    . /etc/os-release
    read -r uri keyring < <(mirror) || true
    uri=${MYNA_MIRROR:-${uri:-}}
    [ -n "$uri" ] || die "no Debian mirror for '${VERSION_CODENAME:-?}' in /etc/apt/sources.list(.d)." \
        "Add one there, or set MYNA_MIRROR to a mirror's address."
    case ${keyring:-} in /*) ;; *) keyring=/usr/share/keyrings/debian-archive-keyring.gpg ;; esac
    [ -r "$keyring" ] || die "the keyring $keyring cannot be read." "Install debian-archive-keyring."

    mkdir -p "$apt"/{etc/apt.conf.d,etc/preferences.d,etc/trusted.gpg.d,lists/partial,cache/archives/partial}
    [ -e "$apt/status" ] || : > "$apt/status"
    echo "$kind [signed-by=$keyring] $uri $suite main" > "$apt/etc/sources.list"
    {   # settings of our own, after the machine's way of reaching the network (proxies, certificates)
        apt-config dump | grep -E '^Acquire::' | grep -vE '^Acquire::(GzipIndexes|IndexTargets|Languages)' || true
        cat <<CONF
Dir::Etc "$apt/etc";
Dir::Etc::netrc "/etc/apt/auth.conf";
Dir::Etc::netrcparts "/etc/apt/auth.conf.d";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::State::lists "$apt/lists";
Dir::Cache "$apt/cache";
Dir::Log "$apt";
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
APT::Sandbox::User "root";
APT::Install-Recommends "false";
Acquire::Languages "none";
CONF
    } > "$apt/apt.conf"
    log=$apt/log
    if ! private_apt update > "$log" 2>&1; then
        tail -n 5 "$log" >&2
        die "cannot read the package lists of $suite/$arch from the mirror in /etc/apt." \
            "Is the network there? Does the mirror carry $suite for $arch? A key that is missing comes with a newer" \
            "debian-archive-keyring ('apt-get install debian-archive-keyring')."
    fi
}

private_apt() { APT_CONFIG=$apt/apt.conf apt-get -q -y "$@"; }
