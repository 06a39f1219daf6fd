# Debian in a directory, for the rigs: sourced by bash scripts that run as root.

# The mirror apt uses for this machine's own release.
mirror() {
    local codename
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v codename="$codename" '$1 == codename && $2 == "main" { print $3; exit }'
}

install_debootstrap() {
    command -v debootstrap >/dev/null && command -v gpgv >/dev/null && return
    say "installing debootstrap"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring gpgv >/dev/null
}

# make_root RELEASE ROOT PACKAGES: a Debian in a directory.
make_root() {
    local release=$1 root=$2 packages=$3 url proxy=
    url=${HAUL_RIG_MIRROR:-$(mirror)}
    # apt knows its sources by release only once it has their lists.
    [[ -n $url ]] || { apt-get update -qq; url=$(mirror); }
    [[ -n $url ]] || { echo "rig: no Debian mirror found in apt's sources; set HAUL_RIG_MIRROR" >&2; exit 1; }
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [[ -z $proxy ]] || export http_proxy=$proxy
    # Nothing here needs to survive a power cut, nor be read by a person: a good part of the time goes into that.
    mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
    printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' \
        'path-exclude=/usr/share/locale/*' >"$root/etc/dpkg/dpkg.cfg.d/rig"
    # In a mount namespace of its own: what debootstrap mounts goes with it, also when it is killed.
    mortal unshare --mount --pid --fork --kill-child \
        debootstrap --variant=minbase --include="$packages" "$release" "$root" "$url" >"$root.log" 2>&1 ||
        { tail -n 20 "$root.log" >&2; exit 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    rm -f "$root.log"
}

# Lets the root's own pip reach what this machine's reaches: name service, certificates, pip's configuration.
borrow_network() {
    local root=$1 file
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf ~/.config/pip/pip.conf ~/.pip/pip.conf \
        "${PIP_CONFIG_FILE:-}" "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
        [[ -f $file ]] && install -D -m 0644 "$file" "$root$file"
    done
    # A folder of this machine that the root does not have.
    unset PIP_FIND_LINKS
}

# Runs a command that the kernel kills when this script is killed.
mortal() { setpriv --pdeathsig KILL "$@"; }

remove() { [[ ! -e $1 ]] || rm -rf --one-file-system "$1"; }
