# NixOS has services.prometheus.exporters.jitsi, made for jitsiexporter (Go). This lets that service run this program:
#
#   imports = [ ./jitsiexporter/deploy/nixos/module.nix ];
#   services.prometheus.exporters.jitsi.enable = true;
#
# The service's command line is that of the Go program, which means its metric names. For the names of this program:
#
#   services.prometheus.exporters.jitsi.extraFlags = [ "--legacy-names=false" ];
{
  nixpkgs.overlays = [
    (final: _prev: {
      prometheus-jitsi-exporter = final.callPackage ./package.nix { };
    })
  ];
}
