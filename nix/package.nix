# Haul as a package: `pkgs.callPackage ./package.nix { }`.
{
  lib,
  rustPlatform,
  installShellFiles,
  autoconf,
  automake,
  libtool,
  nasm,
  stdenv,
}:

let
  manifest = lib.importTOML ../Cargo.toml;
in
rustPlatform.buildRustPackage {
  pname = "haul";
  version = manifest.workspace.package.version;

  # Not what was built here, nor what the sources are not made of.
  src = lib.cleanSourceWith {
    src = lib.cleanSource ../.;
    filter = path: _: !(builtins.elem (baseNameOf path) [ "target" "dist" "nix" "fuzz" "bench" ]);
  };
  cargoLock.lockFile = ../Cargo.lock;

  # ISA-L is built from the sources that its crate brings; nasm is its assembler on x86_64 alone.
  nativeBuildInputs = [
    autoconf
    automake
    libtool
    installShellFiles
  ] ++ lib.optional stdenv.hostPlatform.isx86_64 nasm;

  cargoBuildFlags = [ "--package=haul" ];
  # The tests want servers, root and a real Home Assistant: `make test` runs them.
  doCheck = false;

  postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
    $out/bin/haul man man
    installManPage man/*.1
    installShellCompletion --cmd haul \
      --bash <($out/bin/haul completions bash) \
      --zsh <($out/bin/haul completions zsh) \
      --fish <($out/bin/haul completions fish)
  '';

  meta = {
    description = "Backups of Home Assistant from its live config directory";
    license = lib.licenses.mit;
    mainProgram = "haul";
    platforms = [ "x86_64-linux" "aarch64-linux" ];
  };
}
