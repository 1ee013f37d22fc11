// Before the first paint, so that a dark screen at night stays dark. A file of its own because inline scripts are refused.
(function () {
  var wish = null;
  try {
    wish = localStorage.getItem('mantine-color-scheme-value');
  } catch (error) {
    // Storage is off: the system decides.
  }
  var dark = wish === 'dark' || (wish !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.setAttribute('data-mantine-color-scheme', dark ? 'dark' : 'light');
  document.documentElement.style.background = dark ? '#15171c' : '#f6f7f9';
})();
