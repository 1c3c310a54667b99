# The second part of demo.sh, which sources this file: a signed release for a ship with three
# devices crosses a satellite link about once. Every node is a process of neap; as root, each is in
# a network namespace of its own, with an emulated link between shore and ship.
#
# Uses of demo.sh: $neap, $emulator, $work (the current folder), $size, $log, base.img, new.img and
# update.neap. What is started here ends in its cleanup: jobs, $loops, $namespaces.

RATE_KBIT=1000 DELAY_MS=300 LOSS_PERCENT=1      # the satellite link; the delay is one way
devices=(dev1 dev2 dev3)
net=neap-demo-$$                                # namespaces are $net-NODE
PORT=$((20000 + $$ % 10000))
declare -A targets pids

# Runs a command of neap and shows it, without what it says.
run() { printf '   $ neap %s\n' "$*"; neap "$@" --quiet >>"$log" 2>&1; }

# ---- The release

# Makes the depot, in the background: packing two whole images takes two minutes of computing.
begin_release() {
    export NEAP_KEYS=$work/keys NEAP_PASSPHRASE='of the demonstration'
    set -m                      # a process group, so that cleanup finds what runs in it
    make_release >release.out 2>&1 &
    releaser=$!
    set +m
}

make_release() {
    local key role
    for key in owner online; do run key new $key; done
    run repo init depot --root-key owner --targets-key owner --snapshot-key online \
        --timestamp-key online
    run repo add group depot bridge --key owner
    run release create depot --group bridge --product radar --version 1.0 --image base.img
    run release create depot --group bridge --product radar --version 2.0 --image new.img
    for role in root targets g.bridge; do
        run repo sign depot/staged/$role.json --key owner --yes --output $role.sig
    done
    run repo merge depot root.sig targets.sig g.bridge.sig
    run repo publish depot --key online
}

await_release() { wait "$releaser" || { cat release.out; return 1; }; }

# Bytes of the newest whole image in the depot.
whole_size() {
    neap plan depot --root depot/metadata/1.root.json --group bridge --product radar --json \
        2>>"$log" | field fetch_len
}

# NODE.key, and NODE.pem: its certificate by the fleet.
certify() {
    local digest
    digest=$(neap ca request "$1" --new-key "$1.key" -o "$1.csr" --json 2>>"$log" | field key)
    neap ca allow ca "$1" --digest "$digest" --quiet >>"$log" 2>&1
    cp "$(neap ca issue ca "$1.csr" --key fleet --json 2>>"$log" | field certificate)" "$1.pem"
}

# ---- The network

# Shore and gateway with the emulator between them; a bridge with a cable to each of the ship.
build_network() {
    local node
    for node in shore gateway lan "${devices[@]}"; do
        ip netns add "$net-$node" || return 1
        namespaces+=("$net-$node")
    done
    ip -n "$net-lan" link add br0 type bridge && ip -n "$net-lan" link set br0 up || return 1
    for node in gateway "${devices[@]}"; do
        ip -n "$net-lan" link add "p-$node" type veth peer name eth0 netns "$net-$node" &&
            ip -n "$net-lan" link set "p-$node" master br0 up &&
            ip -n "$net-$node" addr add "$(address "$node")/24" dev eth0 &&
            ip -n "$net-$node" link set eth0 up || return 1
    done
    for node in "${devices[@]}"; do
        ip -n "$net-$node" route add default via "$(address gateway)" || return 1
    done
    ip netns exec "$net-gateway" sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward' || return 1
    # The emulator ends with its standard input, or at SIGTERM: this input never ends.
    mkfifo idle
    "$emulator" --shore "$net-shore" --site "$net-gateway" --rate-kbit $RATE_KBIT \
        --delay-ms $DELAY_MS --loss-percent $LOSS_PERCENT <>idle >link.out 2>&1 &
    link=$!
    await READY link.out $link
}

remove_network() {
    local namespace
    for namespace in "${namespaces[@]}"; do ip netns delete "$namespace" 2>>"$log" || true; done
    namespaces=()
}

address() {
    case $network:$1 in
    yes:shore) echo 10.77.0.1 ;;
    yes:gateway) echo 10.78.0.1 ;;
    yes:*) echo "10.78.0.1${1#dev}" ;;
    *) echo 127.0.0.1 ;;
    esac
}

# Nodes that share an address each have a port.
port() {
    case $network:$1 in
    no:dev*) echo $((PORT + ${1#dev})) ;;
    *) echo $PORT ;;
    esac
}

# NODE.toml: for a device, the shore is at the other end of the link `sat`, the others are near.
configure() {
    local node=$1 peer site=ship depot=$work/$1.depot link=lan
    [ "$node" != shore ] || { site=shore; depot=$work/depot; }
    cat >"$node.toml" <<TOML
depot = "$depot"
state = "$work/$node.state"
site = "$site"
listen = "$(address "$node"):$(port "$node")"
groups = ["bridge"]
product = "radar"
root = "$work/depot/metadata/1.root.json"

[identity]
certificate = "$work/$node.pem"
key = "$work/$node.key"
authority = "$work/ca/ca.pem"

[discovery]
mdns = false

[link.sat]
rate_kbit = $RATE_KBIT
rtt_ms = $((2 * DELAY_MS))
TOML
    [ "$node" != shore ] || return 0
    for peer in shore "${devices[@]}"; do
        [ "$peer" != "$node" ] || continue
        link=lan
        [ "$peer" != shore ] || link=sat
        printf '\n[[peer]]\naddress = "%s:%s"\ndevice = "%s"\nlink = "%s"\n' \
            "$(address "$peer")" "$(port "$peer")" "$peer" $link >>"$node.toml"
    done
}

# ---- The devices

# What a device overwrites: a loop device, or a plain file.
make_target() {
    truncate -s $((size + (8 << 20))) "$1.img"
    targets[$1]=$1.img
    if [ "$(id -u)" = 0 ] && targets[$1]=$(losetup --find --show "$1.img" 2>>"$log"); then
        loops+=("${targets[$1]}")
    else
        targets[$1]=$1.img
    fi
}

# Starts neap at a node: NODE.out and NODE.err take what it says.
start_at() {
    local node=$1 at=(env)
    shift
    [ $network = no ] || at=(ip netns exec "$net-$node")
    "${at[@]}" "$neap" "$@" >"$node.out" 2>"$node.err" &
    pids[$node]=$!
}

fetch_at() {
    start_at "$1" fetch --config "$1.toml" --version 1.0 --source base.img \
        --target "${targets[$1]}" --patience 100 --json
}

# Waits until a process has written such a line into a file.
await() {
    for _ in $(seq 300); do
        if grep -q "$1" "$2"; then return 0; fi
        kill -0 "$3" 2>/dev/null || break
        sleep 0.1
    done
    say "It did not start:"
    tail -n 5 "$2"
    return 1
}

running() { kill -0 "${pids[$1]}" 2>/dev/null; }

# The last line of progress, as `1.2 MiB of 2.3 MiB, …; 3 on site; shore 400 KiB, dev2 800 KiB`.
progress() { { grep ' on site; ' "$1.err" || true; } 2>/dev/null | tail -n 1; }

say_progress() {
    local node has
    printf '   | %3d s' $((SECONDS - begun))
    for node in "${devices[@]}"; do
        has=$(progress "$node" | sed 's/ of .*//')
        if [ "$node" = "$victim" ]; then has=killed; elif ! running "$node"; then has=done; fi
        printf '   %s %9s' "$node" "${has:-...}"
    done
    echo
}

# Who is to be killed. Once a device has a third of the patch, the one that has most of it from the
# shore; on loopback, where it is there at once, one that writes when all do.
candidate() {
    local node
    if [ $network = no ]; then
        for node in "${devices[@]}"; do
            ls "$node".state/*.journal >/dev/null 2>&1 || ! running "$node" || return 0
        done
        for node in "${devices[@]}"; do
            if running "$node"; then echo "$node" && return; fi
        done
        return 0
    fi
    for node in "${devices[@]}"; do printf '%s %s\n' "$node" "$(progress "$node")"; done | awk '
        function bytes(number, unit) {
            return number * (unit ~ /^MiB/ ? 1048576 : unit ~ /^KiB/ ? 1024 : 1)
        }
        $4 == "of" {
            if (3 * bytes($2, $3) >= bytes($5, $6)) enough = 1
            for (i = 7; i < NF; i++) if ($i == "shore") from_shore = bytes($(i + 1), $(i + 2))
            if (from_shore > most) { most = from_shore; who = $1 }
            from_shore = 0
        }
        END { if (enough) print who }'
}

kill_one() {
    local code=0 why most=''
    while [ -z "$most" ]; do
        sleep 0.1
        most=$(candidate)
        running dev1 || running dev2 || running dev3 || return 0
    done
    say_progress
    victim=$most
    kill -9 "${pids[$victim]}" 2>/dev/null || {
        say "$victim ended before it could be killed."
        victim=''
        return 0
    }
    { wait "${pids[$victim]}"; } 2>/dev/null || code=$?
    why='which has taken most from shore'
    [ $network = yes ] || why='which writes already'
    say "$victim, $why, gets SIGKILL (exit code $code). The others go on."
    sleep 3
    say_progress
    say "$victim is started again, by the same command."
    fetch_at "$victim"
    victim=''
}

await_devices() {
    local node count=0
    while running dev1 || running dev2 || running dev3; do
        sleep 1
        count=$((count + 1))
        [ $((count % 4)) != 0 ] || say_progress
    done
    for node in "${devices[@]}"; do
        wait "${pids[$node]}" || { say "$node:"; cat "$node.out"; tail -n 5 "$node.err"; return 1; }
    done
}

# ---- What came from where

# Bytes that a device had from the shore, or from others, in groups of 16 KiB.
had_from() {
    sed -n 's/.*"groups_from":{\([^}]*\)}.*/\1/p' "$1.out" | tr -d '"' | tr ',' '\n' |
        awk -F: -v from="$2" '{ sum[$1 == "shore" ? "shore" : "others"] += $2 }
            END { print sum[from] * 16384 }'
}

# What the emulator counted one way: `bytes` of packets that were `offered`, `delivered`, `lost`.
link_count() {
    sed -n 's/"up":/\n&/p' link.out | grep "\"$1\":" |
        sed "s/.*\"$2\":{\"packets\":[0-9]*,\"bytes\":\([0-9]*\)}.*/\1/"
}

say_sources() {
    local node crossed
    local line='   %-6s %14s %20s %14s %22s\n'
    printf "$line" '' 'from shore' 'from other devices' 'here before' 'crossed the satellite'
    for node in "${devices[@]}"; do
        # A device that never had to fetch for the ship counts nothing for the link.
        crossed=$(sed -n 's/.*"crossed_bytes":{[^}]*"sat":\([0-9]*\).*/\1/p' "$node.out")
        printf "$line" "$node" "$(grouped "$(had_from "$node" shore)")" \
            "$(grouped "$(had_from "$node" others)")" \
            "$(grouped $(($(field groups_before <"$node.out") * 16384)))" \
            "$(grouped "${crossed:-0}")"
    done
    say 'Bytes of the patch, in groups of 16 KiB that were each checked as they came; last, what' \
        'it sent and got over the satellite, as it counted; of a killed one, since its restart.'
}

say_crossing() {
    local crossed patch
    patch=$(stat -c %s update.neap)
    LINK=$((RATE_KBIT * 1000))
    row 'three images, compressed' $((3 * full_size))
    row 'three downloads of the patch' $((3 * patch))
    row 'the patch, once' "$patch"
    kill -TERM "${pids[shore]}"
    { wait "${pids[shore]}"; } 2>/dev/null || true
    if [ $network = yes ]; then
        kill -TERM $link
        { wait $link; } 2>/dev/null || true
        crossed=$(link_count down offered)
        row 'what crossed to the ship' "$crossed"
        row 'what crossed from the ship' "$(link_count up offered)"
        say 'As the emulated link counted it: with headers, handshakes, signed metadata, and the' \
            "$(grouped "$(link_count down lost)") bytes that were lost on the way to the ship."
    else
        crossed=$(sed 's/[^0-9]//g' shore.out)
        row 'what shore served' "$crossed"
        say 'As neap serve counted it.'
    fi
    awk -v c="$crossed" -v p="$patch" 'BEGIN {
        printf "   For three devices, one of which was killed, %.2f of a patch crossed.\n", c / p }'
}

# ---- In order

ship() {
    local node begun victim=''
    step 'A ship with three devices: a release for them, signed'
    say 'Made meanwhile, of the same two images: a depot with two versions, and the patch between.'
    cat release.out
    say 'The ship'\''s devices and the shore know each other by certificates of the fleet.'
    run key new fleet
    run ca init ca --key fleet --name fleet
    for node in shore "${devices[@]}"; do certify "$node"; done
    printf '   $ neap %s\n' 'ca request dev1 --new-key dev1.key -o dev1.csr' \
        'ca allow ca dev1 --digest ...' 'ca issue ca dev1.csr --key fleet'
    say 'and the same for dev2, dev3 and shore.'

    step 'A satellite link between shore and ship'
    network=yes
    if [ -n "$emulator" ] && build_network >>"$log" 2>&1; then
        say 'Shore, gateway, dev1, dev2 and dev3 are network namespaces. The devices share a LAN;' \
            "the way to shore is emulated: $RATE_KBIT kbit/s, $((2 * DELAY_MS)) ms there and" \
            "back, $LOSS_PERCENT % of packets lost."
    else
        remove_network
        network=no
        say 'Network namespaces need root and /dev/net/tun, and are not to be had here: all are' \
            'processes on loopback, where nothing is slow, late or lost.'
    fi
    for node in shore "${devices[@]}"; do configure "$node"; done
    for node in "${devices[@]}"; do make_target "$node"; done
    say "They install onto ${targets[dev1]}, ${targets[dev2]} and ${targets[dev3]}."

    step 'All three fetch, and install while it arrives'
    printf '   $ neap serve --config shore.toml\n'
    start_at shore serve --config shore.toml
    await ' serves ' shore.err "${pids[shore]}"
    printf '   $ neap fetch --config %s.toml --version 1.0 --source base.img --target %s\n' \
        dev1 "${targets[dev1]}" dev2 "${targets[dev2]}" dev3 "${targets[dev3]}"
    begun=$SECONDS
    for node in "${devices[@]}"; do fetch_at "$node"; done
    kill_one
    await_devices
    say "All have it after $((SECONDS - begun)) s."
    say_sources

    step 'Are they the new image, byte for byte?'
    for node in "${devices[@]}"; do
        show neap verify "${targets[$node]}" --patch update.neap
        cmp -n "$size" new.img "${targets[$node]}"
    done

    step 'What crossed the satellite link'
    say_crossing
}
