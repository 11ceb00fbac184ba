# NixOS has services.prometheus.exporters.jitsi, made for jitsiexporter (Go). This lets that service run this program:
#
#   imports = [ ./jitsiexporter/deploy/nixos/module.nix ];
#   services.prometheus.exporters.jitsi.enable = true;
#
# The service's command line is that of the Go program, which means its metric names. For the names of this program:
#
#   services.prometheus.exporters.jitsi.extraFlags = [ "--legacy-names=false" ];
#
# With TLS and passwords; systemd hands the files to the service, whose user cannot read them itself. Paths in web.yml are the
# names here (cert_file: cert.pem):
#
#   services.prometheus.exporters.jitsi.extraFlags = [ "--web-config-file=%d/web.yml" ];
#   systemd.services.prometheus-jitsi-exporter.serviceConfig.LoadCredential = [
#     "web.yml:/var/lib/secrets/jitsiexporter/web.yml"
#     "cert.pem:/var/lib/acme/example.org/fullchain.pem"
#     "key.pem:/var/lib/acme/example.org/key.pem"
#   ];
#
# systemd reads them once, at the start: restart the service after a renewal (security.acme.certs.<name>.reloadServices).
{
  nixpkgs.overlays = [
    (final: _prev: {
      prometheus-jitsi-exporter = final.callPackage ./package.nix { };
    })
  ];
}
