# jitsiexporter for Nix: pkgs.callPackage ./package.nix { }
# Needs a nixpkgs with Rust 1.88 or later (25.11).
{
  lib,
  rustPlatform,
  installShellFiles,
  # The commit, for --version; there is no git in the build.
  commit ? "",
}:

rustPlatform.buildRustPackage {
  pname = "jitsiexporter";
  version = (lib.importTOML ../../Cargo.toml).package.version;

  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;
  env.JITSIEXPORTER_COMMIT = commit;

  # The tests start servers and read the repository; its CI runs them.
  doCheck = false;

  nativeBuildInputs = [ installShellFiles ];
  postInstall = ''
    installManPage deploy/man/jitsiexporter.1
    installShellCompletion --bash deploy/completions/jitsiexporter.bash
    installShellCompletion --zsh deploy/completions/_jitsiexporter
    installShellCompletion --fish deploy/completions/jitsiexporter.fish
  '';

  meta = {
    description = "Prometheus exporter for the Jitsi Videobridge";
    license = with lib.licenses; [
      mit
      asl20
    ];
    mainProgram = "jitsiexporter";
    platforms = lib.platforms.linux;
  };
}
