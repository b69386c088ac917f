# Functions to build and boot a small virtual machine; sourced by the scripts beside it. The machine is
# Debian's kernel with a root of busybox and copied programs in an initramfs, under qemu without KVM.

cache=${GANTRY_TEST_CACHE:-/tmp/gantry-test-cache}/vm

# Prints a directory with Debian's current kernel image, unpacked and not installed. Fetched once and kept.
vm_kernel() {
  mkdir -p "$cache"
  (
    flock 9
    if [ ! -e "$cache/kernel/boot" ]; then
      work=$(mktemp -d "$cache/fetch.XXXXXX")
      trap 'rm -rf "$work"' EXIT
      [ -n "$(apt-cache depends linux-image-amd64 2> /dev/null)" ] || apt-get update -qq
      package=$(apt-cache depends linux-image-amd64 | sed -n 's/^ *Depends: //p' | head -n 1)
      [ -n "$package" ] || { echo "vm: apt knows no linux-image-amd64" >&2; exit 1; }
      (cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$package")
      mkdir "$work/kernel"
      dpkg -x "$work"/*.deb "$work/kernel"
      busybox depmod -b "$work/kernel" "$(ls "$work/kernel/lib/modules")"
      mv "$work/kernel" "$cache/kernel"
    fi
  ) 9> "$cache/lock" || return 1
  echo "$cache/kernel"
}

# vm_program ROOT FILE [PATH]: copies a program and the libraries it needs, without symbols.
vm_program() {
  local root=$1 file=$2 path=${3:-$2} library
  mkdir -p "$root/$(dirname "$path")"
  strip --strip-debug -o "$root/$path" "$file" 2> /dev/null || cp "$file" "$root/$path"
  chmod 755 "$root/$path"
  for library in $(ldd "$file" 2> /dev/null | grep -o '/[^ )]*'); do
    [ -e "$root/$library" ] && continue
    mkdir -p "$root/$(dirname "$library")"
    cp -L "$library" "$root/$library"
  done
}

# vm_modules ROOT NAME…: copies kernel modules and those they depend on, for modprobe.
vm_modules() {
  local root=$1 kernel version name file
  shift
  kernel=$(vm_kernel)
  version=$(ls "$kernel/lib/modules")
  mkdir -p "$root/lib/modules/$version"
  cp "$kernel/lib/modules/$version/modules.dep" "$root/lib/modules/$version/"
  for name in "$@"; do
    grep -E "(^|/)$name\.ko:" "$kernel/lib/modules/$version/modules.dep" | tr -d : | tr ' ' '\n'
  done | sort -u |
    tar -C "$kernel/lib/modules/$version" -cf - -T - | tar -C "$root/lib/modules/$version" -xf -
}

# vm_systemd ROOT: systemd as the first process, with /vm/report as its only service.
vm_systemd() {
  local root=$1 units=$1/etc/systemd/system file
  for file in /lib/systemd/systemd /lib/systemd/systemd-cgroups-agent /lib/systemd/systemd-executor /bin/systemctl; do
    [ -e "$file" ] && vm_program "$root" "$file"
  done
  mkdir -p "$units"
  printf '[Unit]\nDefaultDependencies=no\nWants=report.service\n' > "$units/default.target"
  printf '[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\nDelegate=yes\nTimeoutStartSec=infinity\nExecStart=/bin/sh /vm/report\n' \
    > "$units/report.service"
  echo gantry-vm > "$root/etc/hostname"
  echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
}

# vm_boot ROOT SECONDS [qemu arguments]: packs the root as an initramfs, boots it with an empty ext4 file
# system on /dev/vda (and no check of the timer, which a busy host makes fail) and passes on what the
# machine's /init writes to /dev/ttyS1. Returns the N of its last line "vm: exit N"; a machine that says
# no such line (a panic, a hang) is a failure. With each failure the end of its console is printed.
vm_boot() {
  local root=$1 seconds=$2 work status kernel
  shift 2
  kernel=$(vm_kernel) || return 1
  work=$(mktemp -d /tmp/gantry-vm-XXXXXX)
  (cd "$root" && find . | busybox cpio -o -H newc 2> /dev/null) > "$work/initramfs"
  truncate -s 2G "$work/disk"
  mke2fs -q -t ext4 -E lazy_itable_init=1 "$work/disk"
  timeout --signal=KILL "$seconds" qemu-system-x86_64 -machine q35,accel=tcg -cpu max -smp 2 -m "${VM_MEMORY:-1536}" \
    -nodefaults -display none -no-reboot -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/initramfs" \
    -append "console=ttyS0 panic=-1 oops=panic no_timer_check quiet ${VM_APPEND:-}" \
    -chardev file,id=console,path="$work/console" -serial chardev:console -serial stdio \
    -drive if=virtio,format=raw,cache=unsafe,file="$work/disk" "$@" \
    < /dev/null 2>&1 | tee "$work/out"
  status=$(sed -n '$s/^vm: exit \([0-9]*\).*/\1/p' "$work/out")
  [ -n "$status" ] || echo "vm: the machine ended without a result (limit: $seconds s)"
  status=${status:-1}
  if [ "$status" != 0 ] || [ -n "${VM_CONSOLE_LINES:-}" ]; then
    echo "vm: the end of its console:"
    tail -n "${VM_CONSOLE_LINES:-60}" "$work/console"
  fi
  rm -rf "$work"
  return "$status"
}
